package sql

import "container/list"

// An lru keeps what was made of some text, the least recently used at the back.
// It is for one goroutine at a time.
type lru[V any] struct {
	byText map[string]*list.Element
	order  list.List
}

type lruEntry[V any] struct {
	text  string
	value V
}

func (l *lru[V]) get(text string) (v V, ok bool) {
	el := l.byText[text]
	if el == nil {
		return v, false
	}
	l.order.MoveToFront(el)
	return el.Value.(*lruEntry[V]).value, true
}

func (l *lru[V]) add(text string, v V) {
	if l.byText == nil {
		l.byText = make(map[string]*list.Element)
	}
	l.byText[text] = l.order.PushFront(&lruEntry[V]{text, v})
}

// oldest is the least recently used.
func (l *lru[V]) oldest() (text string, v V) {
	if el := l.order.Back(); el != nil {
		e := el.Value.(*lruEntry[V])
		return e.text, e.value
	}
	return "", v
}

func (l *lru[V]) drop(text string) {
	if el := l.byText[text]; el != nil {
		l.order.Remove(el)
		delete(l.byText, text)
	}
}

func (l *lru[V]) len() int { return l.order.Len() }
