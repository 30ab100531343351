package netfilter

type chain struct{}
