package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// Probe looks at the host. t and scanErr are what a scan found. It never fails:
// what can't be found out is said in the Host.
func Probe(t *netinfo.Topology, scanErr error) Host {
	h := Host{
		Root: os.Geteuid() == 0, Effective: effective(), NestedUser: nestedUser(),
		Sysctls: sysctls("/proc/sys"), Topology: t, ScanErr: scanErr,
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		h.Kernel = string(name.Release[:bytes.IndexByte(name.Release[:], 0)])
	}
	if h.Effective["CAP_NET_RAW"] {
		h.Ring = Trial{true, tryRing()}
	}
	if h.Effective["CAP_NET_ADMIN"] {
		h.Flows = Trial{true, tryFlows()}
		h.Rules.readTables()
		if h.Effective["CAP_SYS_ADMIN"] {
			tryAside(&h)
		}
	}
	h.Rules.readLegacy("/proc/net")
	h.Rules.LeftLoggers = netfilter.LeftLoggers()
	return h
}

// effective returns the effective capabilities of this process by name.
func effective() map[string]bool {
	held := map[string]bool{}
	set := cap.GetProc()
	for c := range cap.MaxBits() {
		if has, err := set.GetFlag(cap.Effective, c); err == nil && has {
			held[strings.ToUpper(c.String())] = true
		}
	}
	return held
}

// nestedUser compares the id map with that of the first user namespace, which
// maps every id to itself (user_namespaces(7)).
func nestedUser() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
}

// sysctls reads the settings that exist.
func sysctls(dir string) map[string]string {
	values := map[string]string{}
	for _, key := range settings {
		if b, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(key, ".", "/"))); err == nil {
			values[key] = strings.TrimSpace(string(b))
		}
	}
	return values
}

// tryRing opens the smallest TPACKET_V3 ring. Its protocol is 0, so that no
// packet ever reaches it (packet(7)).
func tryRing() (err error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("choose TPACKET_V3: %w", err)
	}
	size := uint32(os.Getpagesize())
	request := unix.TpacketReq3{Block_size: size, Block_nr: 1, Frame_size: size, Frame_nr: 1, Retire_blk_tov: 10}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return fmt.Errorf("make ring: %w", err)
	}
	return nil
}

// readLegacy reads the names of iptables-legacy's tables, which exist in /proc
// only while its module is there. Only root may read them.
func (r *Rules) readLegacy(dir string) {
	for _, family := range []string{"ip", "ip6"} {
		b, err := os.ReadFile(filepath.Join(dir, family+"_tables_names"))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, fs.ErrPermission):
			r.LegacyErr = errors.New("not read, which needs root")
			return
		case err != nil:
			r.LegacyErr = err
			return
		}
		for table := range strings.FieldsSeq(string(b)) {
			r.Legacy = append(r.Legacy, family+" "+table)
		}
	}
	r.LegacyRead = true
}
