package netinfo

import (
	"encoding/binary"
	"testing"
)

func FuzzSocketInode(f *testing.F) {
	answer := make([]byte, diagAnswerSize)
	binary.NativeEndian.PutUint32(answer[diagInode:], 4711)
	f.Add(answer)
	f.Add(answer[:diagAnswerSize-1])
	f.Add(append(answer, 8, 0, 1, 0, 1, 2, 3, 4)) // with an attribute
	f.Fuzz(func(t *testing.T, answer []byte) {
		inode, ok := inodeIn(answer)
		if ok != (len(answer) >= diagAnswerSize) || inode != 0 && inode != uint64(binary.NativeEndian.Uint32(answer[diagInode:])) {
			t.Errorf("%d, %v of %x", inode, ok, answer)
		}
	})
}
