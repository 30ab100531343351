package netinfo

import (
	"slices"
	"testing"
)

func TestDiscoverMounts(t *testing.T) {
	d := newDiscovery()
	d.mounts([]byte(`22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
60 22 0:24 /netns /run/netns rw,nosuid shared:9 - tmpfs tmpfs rw
61 60 0:4 net:[4026532177] /run/netns/lab\040host rw shared:19 - nsfs nsfs rw
62 22 0:4 net:[4026532177] /run/netns/lab\040host rw shared:19 - nsfs nsfs rw
63 22 0:4 net:[4026532325] /run/docker/netns/22183afd01ab rw - nsfs nsfs rw
64 22 0:4 net:[4026532325] /run/netns/also rw - nsfs nsfs rw
65 22 0:4 mnt:[4026532400] /run/snapd/ns/x.mnt rw - nsfs nsfs rw
66 22 0:4 net:[x] /odd rw - nsfs nsfs rw
short - nsfs
`))
	if len(d.found) != 2 {
		t.Errorf("%d namespaces, want 2", len(d.found))
	}
	if got := d.at(4026532177).mounts; !slices.Equal(got, []string{"/run/netns/lab host"}) {
		t.Errorf("mounts %q, want one, unescaped", got)
	}
	if got := d.at(4026532325).mounts; !slices.Equal(got, []string{"/run/netns/also", "/run/docker/netns/22183afd01ab"}) {
		t.Errorf("mounts %q, want ip netns's first", got)
	}
}

func TestAnnouncesIDs(t *testing.T) {
	link := []byte{20, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4} // RTM_NEWLINK
	nsid := []byte{16, 0, 0, 0, 88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}             // RTM_NEWNSID
	for _, test := range []struct {
		name  string
		bytes []byte
		want  bool
	}{
		{"link", link, false},
		{"id", nsid, true},
		{"id after link", slices.Concat(link, nsid), true},
		{"cut off", nsid[:8], false},
		{"length of zero", make([]byte, 64), false},
		{"nothing", nil, false},
	} {
		if got := announcesIDs(test.bytes); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
