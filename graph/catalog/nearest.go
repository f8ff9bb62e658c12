package catalog

import (
	"sort"
	"strings"

	"github.com/agnivade/levenshtein"
)

// nearest is the known name that is nearest to a mistyped one; "" where none
// is near enough to be meant.
func nearest(name string, known []string) string {
	sorted := append([]string(nil), known...)
	sort.Strings(sorted)
	best, distance := "", len(name)/3+2
	for _, k := range sorted {
		if strings.EqualFold(k, name) {
			return k
		}
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	return best
}
