package policy

// conditions reads conditions.yaml: names for conditions used more than once.
func (l *loader) conditionsFile(file string, data []byte) {
	doc, ok := readYAML(file, data, &l.report)
	if !ok {
		return
	}
	entries, _ := doc.entries("conditions.yaml")
	for _, e := range entries {
		parts, ok := e.value.entries(`the condition "` + e.key + `"`)
		if !ok {
			continue
		}
		if !isName(e.key) {
			e.keyAt.problem(ProblemSyntax, `"`+e.key+`" is no name for a condition: letters, digits and _ only`, "")
			continue
		}
		var nc NamedCondition
		whereAt := e.keyAt
		for _, p := range parts {
			switch p.key {
			case "on":
				nc.On, _ = p.value.text("on")
			case "where":
				nc.Where, _ = p.value.literal("where")
				whereAt = p.value
			default:
				p.keyAt.problem(ProblemUnknownKey, `a condition has no "`+p.key+`"`, didYouMean(p.key, []string{"on", "where"}))
			}
		}
		if nc.On == "" || nc.Where == "" {
			e.keyAt.problem(ProblemSyntax, `the condition "`+e.key+`" needs on and where`, `Write { on: source.collection, where: '{...}' }`)
			continue
		}
		l.named[e.key] = nc
		l.namedAt[e.key] = whereAt.at()
	}
}

// bindNamed type-checks each named condition on its own object, so that one
// that no line uses is checked as well. A mistake in it is reported here and
// not again by each line that uses it.
func (l *loader) bindNamed() {
	for _, name := range sortedKeys(l.named) {
		nc, p := l.named[name], l.namedAt[name]
		object, known := l.names.byName[nc.On]
		if !known {
			l.add(p.at(0, ProblemUnknownName, `"`+nc.On+`" names nothing that is pinned`, didYouMean(nc.On, l.names.all)))
			continue
		}
		subject := SubjectRecord
		if l.names.objects[object].Function {
			subject = SubjectArguments
		}
		l.condition(nc.On, subject, nc.Where, p, 0)
	}
}

// unusedNamed warns of names that nothing uses.
func (l *loader) unusedNamed() {
	for _, name := range sortedKeys(l.named) {
		if !l.namedUsed[name] {
			p := l.namedAt[name].at(0, ProblemUnused, `no line uses the condition "`+name+`"`, "")
			p.Warning = true
			l.add(p)
		}
	}
}

func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isNameByte(s[i]) {
			return false
		}
	}
	return s != "" && (s[0] < '0' || s[0] > '9')
}
