// Package cost tells what work costs the processors, so that who works in turns can rest
// in proportion: on a host that is busy with other things work is slow, but not costly.
package cost
