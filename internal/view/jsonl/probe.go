package jsonl

import (
	"natlens/internal/probe"
)

type probeLine struct {
	header
	From        string       `json:"from"`
	To          string       `json:"to"`
	Port        uint16       `json:"port,omitempty"`
	Protocol    string       `json:"protocol"`
	Address     string       `json:"address,omitempty"`
	Resolves    *bool        `json:"resolves,omitempty"`
	Result      string       `json:"result,omitempty"`
	Reason      string       `json:"reason,omitempty"`
	Answer      string       `json:"answer,omitempty"`
	AnswerAfter float64      `json:"answer_after,omitempty"`
	Queries     []query      `json:"queries,omitempty"`
	Sent        *probeSent   `json:"sent,omitempty"`
	Expected    *expectation `json:"expected,omitempty"`
	AsExpected  *bool        `json:"as_expected,omitempty"`
	Differences []difference `json:"differences,omitempty"`
	Journeys    []uint64     `json:"journeys"`
	Answers     []uint64     `json:"answers"`
	Error       string       `json:"error,omitempty"`
}

type query struct {
	Server string `json:"server"`
	Name   string `json:"name"`
	Type   string `json:"type"`
}

type probeSent struct {
	Time  string `json:"time"`
	Tuple *tuple `json:"tuple"`
	Bytes int    `json:"bytes"`
}

type difference struct {
	What     string `json:"what"`
	Expected string `json:"expected"`
	Observed string `json:"observed"`
}

// Probe writes what became of one probe, kind "probe". Its journeys are named by
// their ids; they have lines of their own.
func Probe(o *probe.Outcome) ([]byte, error) {
	x := probeLine{
		header: kind("probe"), From: o.Request.From, To: o.Request.To, Port: o.Request.Port,
		Protocol: o.Request.Protocol.String(), Address: ipText(o.Destination.Address),
		Result: string(o.Result), Reason: o.Cause.Reason, Answer: string(o.Answer.Result),
		Journeys: []uint64{}, Answers: []uint64{},
	}
	for _, q := range o.Queries {
		x.Queries = append(x.Queries, query{ipText(q.Server), q.Name, q.Type})
	}
	if o.Failed != nil {
		x.Error = o.Failed.Error()
		return line(x)
	}
	if l := o.Destination.Lookup; l.Asked {
		x.Resolves = &l.Resolves
	}
	if o.Answer.Result == probe.Replied || o.Answer.Result == probe.Refused {
		x.AnswerAfter = o.Answer.After.Seconds()
	}
	if o.Sent.Tuple.Valid() {
		x.Sent = &probeSent{Time: stamp(o.Sent.Time.UnixNano()), Tuple: newTuple(o.Sent.Tuple), Bytes: o.Sent.Bytes}
	}
	for _, j := range o.Journeys.There {
		x.Journeys = append(x.Journeys, j.ID)
	}
	for _, j := range o.Journeys.Back {
		x.Answers = append(x.Answers, j.ID)
	}
	if e := o.Expected; e != nil {
		x.Expected = newExpectation(e)
		agreement, differences := o.Agreement()
		if agreement == probe.AsExpected || agreement == probe.NotAsExpected {
			as := agreement == probe.AsExpected
			x.AsExpected = &as
		}
		for _, d := range differences {
			x.Differences = append(x.Differences, difference(d))
		}
	}
	return line(x)
}
