package oracletest

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// Buffer can be written by a process and read by a test at the same time.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns all that was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Await polls until ok, or fails the test.
func Await(t testing.TB, atMost time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(atMost); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", atMost, what)
		}
	}
}
