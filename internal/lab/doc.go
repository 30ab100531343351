// Package lab builds Docker-like hosts out of network namespaces.
//
// Run starts this program once more inside namespaces of its own; there, New
// makes the namespace it stands in look like a Docker host: an uplink to a
// namespace that plays the internet, bridges, containers on veths, masquerade
// and published ports as a container engine lays them down. Traffic is made by
// sockets opened inside those namespaces. No program of the host is started
// and no address outside the lab can be reached, since the lab has no link to
// anything else.
//
// An ordinary user may do all of this where the kernel lets ordinary users
// make user namespaces (user_namespaces(7)). When the process ends, however it
// ends, the kernel takes everything back.
package lab
