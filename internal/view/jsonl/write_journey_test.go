package jsonl

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/internal/view/viewtest"
)

// asTagged is what encoding/json writes, going by the tags.
func asTagged(t *testing.T, x journey) string {
	t.Helper()
	b, err := line(x)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestJourneysAreWrittenAsTheirTagsSay(t *testing.T) {
	for _, c := range viewtest.Cases() {
		if d := cmp.Diff(asTagged(t, newJourney(c.Journey)), string(AppendJourney(nil, c.Journey))); d != "" {
			t.Errorf("%s (-tags +written):\n%s", c.Name, d)
		}
	}
	for seed := range uint64(500) {
		j := viewtest.Random(rand.New(rand.NewPCG(seed, 4)))
		if d := cmp.Diff(asTagged(t, newJourney(j)), string(AppendJourney(nil, j))); d != "" {
			t.Fatalf("seed %d (-tags +written):\n%s", seed, d)
		}
	}
}

// TestEveryFieldIsWritten fills every field there is, also those that no journey of
// the other tests has.
func TestEveryFieldIsWritten(t *testing.T) {
	var x journey
	n := 0
	fill(reflect.ValueOf(&x).Elem(), &n)
	if n < 60 {
		t.Errorf("only %d fields filled", n)
	}
	var w writer
	x.write(&w)
	if d := cmp.Diff(asTagged(t, x), string(w.b)+"\n"); d != "" {
		t.Errorf("-tags +written:\n%s", d)
	}
}

// fill sets all of v to something, lists to two elements, and counts what it set.
func fill(v reflect.Value, n *int) {
	*n++
	if v.Type() == reflect.TypeFor[netip.Addr]() {
		v.Set(reflect.ValueOf(netip.MustParseAddr("2001:db8::1")))
		return
	}
	switch v.Kind() {
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n % 100))
	case reflect.Interface:
		v.Set(reflect.ValueOf(*n))
	default:
		v.SetUint(uint64(*n % 100))
	}
}

// TestTextIsEscapedAsBefore compares characters of every kind with what
// encoding/json and harmless make of them.
func TestTextIsEscapedAsBefore(t *testing.T) {
	text := "\xff\xed\xa0\x80\ufffd"
	for r := range rune(0x3000) {
		text += string(r)
	}
	text += "\U000e0041\U0001f600\ufeff\uffff\U0010ffff"
	want, err := line(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(appendString(nil, text))+"\n"); d != "" {
		t.Errorf("-encoding/json +appendString:\n%s", d)
	}
}
