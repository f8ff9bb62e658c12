//go:build !unix

package sql

import "os"

// fileID is empty where files have no inode: the path alone identifies them.
func fileID(os.FileInfo) string { return "" }
