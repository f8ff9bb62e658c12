package catalog

func (b *builder) version() string { return "" }
