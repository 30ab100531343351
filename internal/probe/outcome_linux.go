package probe

import (
	"errors"

	"golang.org/x/sys/unix"
)

// prohibited reports whether the kernel refused to send because a rule dropped
// the packet on its way out (EPERM, as sendmsg(2) returns what the output hook
// said) or because a route forbids it.
func prohibited(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }
