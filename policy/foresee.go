package policy

// Foresee is Route before the records are known that a change would touch, for
// explanations; nothing may be decided by it. Fields that Before and After lack,
// and a negative Records, are unknown. Open are the rules before the one that
// was found which may match once everything is known, in their order; a seat
// whose filter is unknown is among the seats.
func (e *Engine) Foresee(c ChangeFacts) (found Routing, open []string, err error) {
	o, err := e.routed(c.Object)
	if err != nil {
		return Routing{}, nil, err
	}
	f := facts{change: &c, arguments: e.names.objects[o].Function}
	for _, r := range e.approvals.rules {
		switch e.ruleTruth(r, o, f) {
		case True:
			return e.routing(r, o, f), open, nil
		case Unknown:
			open = append(open, r.name)
		}
	}
	return e.routing(nil, o, f), open, nil
}
