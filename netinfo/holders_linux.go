package netinfo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// SocketHolders returns, by the sockets' inodes, the command of a process that
// holds each (proc(5), comm: at most 15 bytes). A socket is absent when no
// process holds it, or only processes that this user may not look into
// (CAP_SYS_PTRACE).
func SocketHolders(inodes []uint64) map[uint64]string {
	wanted := map[string]uint64{}
	for _, n := range inodes {
		wanted[fmt.Sprintf("socket:[%d]", n)] = n
	}
	holders := map[uint64]string{}
	if len(wanted) == 0 {
		return holders
	}
	// A pattern that is well-formed never fails; what ends meanwhile is absent.
	folders, _ := filepath.Glob("/proc/[0-9]*/fd")
	for _, folder := range folders {
		descriptors, err := os.ReadDir(folder)
		if err != nil {
			continue
		}
		for _, d := range descriptors {
			target, err := os.Readlink(filepath.Join(folder, d.Name()))
			if err != nil {
				continue
			}
			inode, ok := wanted[target]
			if !ok || holders[inode] != "" {
				continue
			}
			if comm, err := os.ReadFile(filepath.Join(filepath.Dir(folder), "comm")); err == nil {
				holders[inode] = strings.TrimSuffix(string(comm), "\n")
			}
		}
		if len(holders) == len(wanted) {
			break
		}
	}
	return holders
}
