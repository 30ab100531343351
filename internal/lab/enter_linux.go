package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// marker is the environment variable that tells the child of Run what it
	// is. Its value is the parent's identity, which must not be the child's.
	marker = "NATLENS_LAB"
	// reportFd is where the child tells the parent how entering went.
	reportFd = 3
	// Reports: ready, or one of the other words, a blank and the reason.
	reportReady, reportForbidden, reportFailed = "ready", "forbidden", "failed"
)

// namespaceFolder is where ip-netns(8) keeps its names, and so do we.
const namespaceFolder = "/run/netns"

// entered is set once by Enter, before any other goroutine has a reason to
// look.
var entered bool

// Inside reports whether this process is a child of Run.
func Inside() bool { return entered || os.Getenv(marker) != "" }

// Enter completes the private namespaces that Run made for this process:
// mounts no longer propagate to the host, /run is empty but for /run/netns, /proc shows
// this process namespace where it may be mounted, loopback is up. It must come
// before anything that reads /run, opens a socket or starts a process; a
// second call does nothing.
//
// When it fails, Run in the parent returns the reason, so the child has only
// to end. In a process that stands in its parent's namespaces Enter fails and
// changes nothing.
func Enter() error {
	if entered {
		return nil
	}
	value := os.Getenv(marker)
	if value == "" {
		return errors.New("enter lab: not started by Run")
	}
	if err := os.Unsetenv(marker); err != nil {
		return fmt.Errorf("enter lab: %w", err)
	}
	own, err := ownIdentity()
	if err != nil {
		return fmt.Errorf("enter lab: %w", err)
	}
	// Run makes a process namespace as well, in which its child is the first.
	if os.Getpid() != 1 || !own.apartFrom(value) {
		return errors.New("enter lab: this process stands in its parent's namespaces")
	}
	report := os.NewFile(reportFd, "report")
	if err := furnish(); err != nil {
		_, lost := report.WriteString(reportOf(err))
		return errors.Join(fmt.Errorf("enter lab: %w", err), lost, report.Close())
	}
	// Without a reader the parent died before the kernel knew to take this
	// process with it.
	_, err = report.WriteString(reportReady)
	if err = errors.Join(err, report.Close()); err != nil {
		return fmt.Errorf("enter lab: %w", err)
	}
	entered = true
	return nil
}

// furnish makes new namespaces livable.
func furnish() error {
	// Slave, not private: a private copy would keep the host's mounts, and the
	// namespaces and disks behind them, busy after the host lets them go.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts slave: %w", err)
	}
	if err := dropNamespaces(); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.Mkdir(namespaceFolder, 0o755); err != nil {
		return err
	}
	// A masked /proc, as containers have it, forbids a new one
	// (mount_namespaces(7)). The old one serves: it shows more than is here.
	err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("mount /proc: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// dropNamespaces unmounts the namespaces that others have mounted, in this mount
// namespace only: whoever looks for namespaces here finds the lab's. In a user
// namespace of their own ordinary users may neither unmount nor enter them.
func dropNamespaces() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !strings.HasPrefix(after, "nsfs ") || len(fields) < 5 {
			continue
		}
		// Its owner may have unmounted it meanwhile.
		err := unix.Unmount(fields[4], unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, fs.ErrPermission) {
			return &fs.PathError{Op: "unmount", Path: fields[4], Err: err}
		}
	}
	return nil
}

func reportOf(err error) string {
	// AppArmor's user namespaces are made and then refuse everything.
	if errors.Is(err, fs.ErrPermission) {
		return reportForbidden + " " + err.Error()
	}
	return reportFailed + " " + err.Error()
}

// parseReport turns what the child wrote into Run's error. A child that ended
// without a word had other reasons, which its status tells.
func parseReport(report string) error {
	word, reason, _ := strings.Cut(report, " ")
	switch word {
	case reportForbidden:
		return fmt.Errorf("%w: %s", ErrForbidden, reason)
	case reportFailed:
		return fmt.Errorf("enter lab: %s", reason)
	}
	return nil
}

// identity is which network and mount namespaces a process is in.
type identity struct{ net, mount uint64 }

func ownIdentity() (identity, error) {
	net, err := inode("/proc/self/ns/net")
	if err != nil {
		return identity{}, err
	}
	mount, err := inode("/proc/self/ns/mnt")
	return identity{net: net, mount: mount}, err
}

func inode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Ino, nil
}

func (i identity) String() string { return fmt.Sprintf("%d:%d", i.net, i.mount) }

// apartFrom reports whether i shares neither namespace with the identity that
// s spells.
func (i identity) apartFrom(s string) bool {
	var other identity
	if _, err := fmt.Sscanf(s, "%d:%d", &other.net, &other.mount); err != nil {
		return false
	}
	return i.net != other.net && i.mount != other.mount
}
