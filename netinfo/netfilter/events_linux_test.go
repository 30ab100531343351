package netfilter

import "testing"

func TestEventSetting(t *testing.T) {
	needs(t, "nsenter", "sysctl")
	h := newNamespace(t)
	s, err := openEventSetting(h)
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]bool{"0": true, "1": false, "2": false} {
		run(t, h, "sysctl -q -w net.netfilter.nf_conntrack_events="+value)
		if got := s.off(); got != want {
			t.Errorf("events off with %s: %v", value, got)
		}
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if (eventSetting{}).off() {
		t.Error("a setting that is hidden is off")
	}
}
