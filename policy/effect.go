package policy

// Effect is what the view says of an act on an object ("source.object"), or on
// one of its fields (the system's name): Allow where all that is permitted may be
// done at once, Propose where some of it must be proposed, Denied where nothing
// is permitted. Conditions may narrow down which records are.
func (v *View) Effect(act Act, object, field string) Effect {
	a := v.Object(object)
	if a == nil {
		return Denied
	}
	if act == Read {
		if a.Read == nil {
			return Denied
		}
		if _, ok := a.Read.Fields[field]; field != "" && !ok {
			return Denied
		}
		return Allow
	}
	w := a.write(act)
	if w == nil || field != "" && !w.Fields[field] {
		return Denied
	}
	if field == "" {
		return w.Decide(nil).Effect
	}
	return w.Decide([]string{field}).Effect
}

// write is the access for an act that is no reading; nil where there is none.
func (a *Access) write(act Act) *WriteAccess {
	switch act {
	case Create:
		return a.Create
	case Update:
		return a.Update
	case Delete:
		return a.Delete
	case Call:
		return a.Call
	case Approve:
		return a.Approve
	}
	return nil
}
