//go:build unix

package sql

import (
	"os"
	"strconv"
	"syscall"
)

// fileID is the inode. The device is left out: its number may change when a
// machine starts again.
func fileID(info os.FileInfo) string {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return strconv.FormatUint(uint64(s.Ino), 10)
	}
	return ""
}
