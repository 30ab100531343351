package cost

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Of calls f and returns for how long processors worked for its thread meanwhile
// (getrusage(2), RUSAGE_THREAD), in the kernel, too; not what f has other goroutines do.
// f must not change the thread's namespace, unless the thread is locked already and to be
// thrown away.
func Of(f func()) time.Duration {
	runtime.LockOSThread()         // whose time is told
	defer runtime.UnlockOSThread() //nolint:forbidigo // it has not moved
	began := ofThread()
	f()
	return ofThread() - began
}

// ofThread is the time of the calling thread, so far.
func ofThread() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
