package netinfo

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"natlens/netinfo/netns"
)

func FuzzParseNamespace(f *testing.F) {
	for _, s := range []string{"net:[4026531840]", "net:[0]", "net:[18446744073709551616]", "net:[-1]", "mnt:[1]", "net:[", "/run/netns/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := parseNamespace(s)
		if digits := strconv.FormatUint(uint64(id), 10); ok && (id == 0 || !strings.Contains(s, digits)) {
			t.Errorf("%d of %q", id, s)
		}
	})
}

// Who may mount chooses what folders are called.
func FuzzMounts(f *testing.F) {
	f.Add([]byte("36 25 0:4 net:[4026532177] /run/netns/back rw shared:5 - nsfs nsfs rw\n"))
	f.Add([]byte("36 25 0:4 net:[4026532177] /var/run/docker/netns/1\\040a\\134 rw - nsfs nsfs rw\n37 25 0:4 net:[4026532177] /run/netns/b rw - nsfs nsfs rw\n"))
	f.Add([]byte("36 25 0:4 / / rw - ext4 /dev/vda1 rw\n - nsfs \n"))
	f.Fuzz(func(t *testing.T, mountinfo []byte) {
		d := discovery{found: map[netns.ID]*sighting{}}
		d.mounts(mountinfo)
		for id, s := range d.found {
			sorted := slices.Clone(s.mounts)
			slices.Sort(sorted)
			if id == 0 || len(s.mounts) == 0 || len(slices.Compact(sorted)) != len(s.mounts) {
				t.Errorf("%d is mounted at %q", id, s.mounts)
			}
		}
	})
}
