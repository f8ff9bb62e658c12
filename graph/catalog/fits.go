package catalog

import "github.com/countersign/countersign/connectors"

// CheckFits tells whether a value can be written to a field of the type without
// being rounded, truncated or padded; else CodeValidationFailed.
func CheckFits(v connectors.Value, t *Type) error { return t.Fits(v) }
