package policy

type approvals struct{}

func (l *loader) approvalsFile(file string, data []byte) {}
func (l *loader) lint(e *Engine)                         {}
