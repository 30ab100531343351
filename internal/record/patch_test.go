package record

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a difference makes of the old value is the new one.
func TestDifferences(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	shorter := 0
	for range 2000 {
		old := value(r, 4)
		now := mutated(r, old)
		a, b := asJSON(t, old), asJSON(t, now)
		p, same := difference(a, b)
		if same {
			if diff := cmp.Diff(string(a), string(b)); diff != "" {
				t.Fatal(diff)
			}
			continue
		}
		written := asJSON(t, p)
		if len(written) < len(b) {
			shorter++
		}
		var read patch
		if err := json.Unmarshal(written, &read); err != nil {
			t.Fatal(err)
		}
		made, err := read.apply(a)
		if err != nil {
			t.Fatalf("%s of %s: %v", written, a, err)
		}
		var want, got any
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(made, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s of %s\n-want +made\n%s", written, a, diff)
		}
	}
	if shorter < 200 {
		t.Errorf("only %d differences are shorter than what they make", shorter)
	}
}

// A change of what is not there is refused, as is one that uses a part twice.
func TestDifferencesThatCantBe(t *testing.T) {
	for _, p := range []string{
		`{"Items": [{"At": 2, "Stay": 1}]}`, `{"Items": [{"At": -1, "Stay": 1}]}`, `{"Items": [{"At": 1, "Stay": 9223372036854775807}]}`,
		`{"Items": [{"At": 0, "Stay": 2}, {"At": 1, "Stay": 1}]}`, `{"Fields": {}}`, `{}`, `{"Items": [{}, {}]}`,
	} {
		var read patch
		if err := json.Unmarshal([]byte(p), &read); err != nil {
			t.Fatal(err)
		}
		if made, err := read.apply(json.RawMessage(`[1, 2]`)); err == nil {
			t.Errorf("%s makes %s", p, made)
		}
	}
}

func asJSON(t *testing.T, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// value is a random one.
func value(r *rand.Rand, depth int) any {
	switch n := r.IntN(4); {
	case depth > 0 && n == 0:
		list := []any{}
		for range r.IntN(6) {
			list = append(list, value(r, depth-1))
		}
		return list
	case depth > 0 && n < 3:
		object := map[string]any{"ID": r.IntN(5)}
		for range r.IntN(5) {
			object[fmt.Sprint("f", r.IntN(9))] = value(r, depth-1)
		}
		return object
	}
	return []any{nil, "text", true, 7, []any{}}[r.IntN(5)]
}

// mutated is another value, with most as it was.
func mutated(r *rand.Rand, v any) any {
	if r.IntN(12) == 0 {
		return value(r, 2)
	}
	switch v := v.(type) {
	case []any:
		list := []any{}
		for _, item := range v {
			switch r.IntN(8) {
			case 0: // gone
			case 1:
				list = append(list, value(r, 1), mutated(r, item))
			case 2:
				list = append(list, item, item)
			default:
				list = append(list, mutated(r, item))
			}
		}
		if r.IntN(4) == 0 {
			r.Shuffle(len(list), func(i, k int) { list[i], list[k] = list[k], list[i] })
		}
		return list
	case map[string]any:
		object := map[string]any{}
		for name, item := range v {
			if r.IntN(10) > 0 {
				object[name] = mutated(r, item)
			}
		}
		return object
	}
	return v
}
