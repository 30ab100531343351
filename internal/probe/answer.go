package probe

import "time"

// AnswerResult is what the sender of a probe got to know.
type AnswerResult string

const (
	Silent      AnswerResult = "silent"      // nothing came back in time
	Replied     AnswerResult = "replied"     // an echo, a SYN-ACK or a datagram
	Refused     AnswerResult = "refused"     // a reset, or port unreachable
	Unreachable AnswerResult = "unreachable" // an ICMP error, or no neighbour
	NotSent     AnswerResult = "not_sent"    // the kernel knows no way to send it
	Forbidden   AnswerResult = "forbidden"   // the kernel may not send it: a rule of FROM's own, or a prohibiting route
)

// Answer is what the sender of a probe got to know, and when.
type Answer struct {
	Result AnswerResult
	After  time.Duration
	// Err is the kernel's error; nil for Silent and Replied.
	Err error
	// Objection is the ICMP error that the sender was told of; nil when there was none.
	Objection *Objection
}
