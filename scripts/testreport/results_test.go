package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const asRoot = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestGood"}
{"Action":"pass","Package":"p","Test":"TestGood","Elapsed":0.1}
{"Action":"output","Package":"p","Test":"TestBad","Output":"    a_test.go:7: got 1\n"}
{"Action":"fail","Package":"p","Test":"TestBad","Elapsed":0}
{"Action":"output","Package":"p","Test":"TestUser","Output":"    b_test.go:9: needs an ordinary user: runs as root\n"}
{"Action":"output","Package":"p","Test":"TestUser","Output":"--- SKIP: TestUser (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestUser","Elapsed":0}
{"Action":"output","Package":"p","Test":"TestNever","Output":"    b_test.go:19: needs a modem\n"}
{"Action":"skip","Package":"p","Test":"TestNever","Elapsed":0}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"fail","Package":"p","Elapsed":1.5}
{"Action":"skip","Package":"no/tests","Elapsed":0}
{"ImportPath":"q","Action":"build-output","Output":"q.go:1: syntax error\n"}
{"ImportPath":"q","Action":"build-fail"}
{"Action":"fail","Package":"q","Elapsed":0,"FailedBuild":"q"}
`

const asUser = `{"Action":"pass","Package":"p","Test":"TestUser","Elapsed":0}
{"Action":"output","Package":"p","Test":"TestGood","Output":"    b_test.go:9: needs root\n"}
{"Action":"skip","Package":"p","Test":"TestGood","Elapsed":0}
{"Action":"pass","Package":"p","Elapsed":0}
`

func TestSeveralRunsAddUp(t *testing.T) {
	var all results
	for _, stream := range []string{asRoot, asUser} {
		if err := all.read(strings.NewReader(stream), func(event) {}); err != nil {
			t.Fatal(err)
		}
	}
	pass, fail, skip := all.count()
	if pass != 2 || fail != 2 || skip != 1 {
		t.Errorf("%d passed, %d failed, %d skipped; want 2 (TestGood, TestUser), 2 (TestBad, q), 1 (TestNever)", pass, fail, skip)
	}
	var skips strings.Builder
	all.writeSkipped(&skips)
	if want := "needs a modem:\n    p TestNever\n"; skips.String() != want {
		t.Errorf("left out: %q, want %q", &skips, want)
	}
}

func TestFollow(t *testing.T) {
	var out strings.Builder
	if err := follow(strings.NewReader(asRoot), &out); err != nil {
		t.Fatal(err)
	}
	want := `  fail    1.5 s  p                                    1 passed, 2 skipped, 1 failed
        a_test.go:7: got 1
    FAIL
  fail    0.0 s  q                                    0 passed, 1 failed
    q.go:1: syntax error
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// A process that dies prints what is no JSON, and its package fails without a
// test that does.
func TestProcessThatDies(t *testing.T) {
	var out strings.Builder
	stream := `{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Output":"panic: oh\n"}
fatal error: something
{"Action":"fail","Package":"p","Elapsed":0}
`
	if err := follow(strings.NewReader(stream), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "1 passed, 1 failed\n    panic: oh\n") {
		t.Errorf("a panic is not shown once:\n%s", &out)
	}
	if n := strings.Count(out.String(), "panic: oh"); n != 1 {
		t.Errorf("the panic is shown %d times", n)
	}
}
