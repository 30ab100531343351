package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"natlens/internal/record"
)

// awaitAfter is for how long a pipe may hold nothing before that is said.
const awaitAfter = 3 * time.Second

// sayAwaited says which pipes nothing has come from after a while, until it is told that
// all have begun: nothing can be shown before.
func (a *app) sayAwaited(files []record.File) (begun func()) {
	var awaited []*awaitedPipe
	for i, f := range files {
		file, ok := f.In.(*os.File)
		if info, err := file.Stat(); ok && err == nil && !info.Mode().IsRegular() {
			w := &awaitedPipe{File: file, name: f.Name}
			files[i].In, awaited = w, append(awaited, w)
		}
	}
	timer := time.AfterFunc(awaitAfter, func() {
		for _, w := range awaited {
			if !w.begun.Load() {
				fmt.Fprintln(a.stderr, a.style().Escape("nothing has come from "+w.name+" yet; waiting for it"))
			}
		}
	})
	return func() { timer.Stop() }
}

// awaitedPipe notes that something has come.
type awaitedPipe struct {
	*os.File
	name  string
	begun atomic.Bool
}

func (w *awaitedPipe) Read(b []byte) (int, error) {
	n, err := w.File.Read(b)
	w.begun.Store(true)
	return n, err
}
