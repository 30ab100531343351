package record

import (
	"bytes"
	"encoding/json"
	"errors"
)

// patch makes one JSON value of another. Of a topology or a ruleset most stays as it
// was when a container comes or goes.
type patch struct {
	Value  json.RawMessage  `json:",omitempty"` // it is this one
	Fields map[string]patch `json:",omitempty"` // an object whose other fields stay
	Gone   []string         `json:",omitempty"` // and which has these no more
	Items  []patchItem      `json:",omitempty"` // a list
}

// patchItem is a part of a list: some that stay as they were, one of them that
// changed, or a new one.
type patchItem struct {
	At     int             `json:",omitempty"` // in the old list
	Stay   int             `json:",omitempty"` // how many do
	Change *patch          `json:",omitempty"`
	New    json.RawMessage `json:",omitempty"`
}

var errPatch = errors.New("a change of what is not there")

// difference returns what makes b of a; same: nothing does, they are equal.
func difference(a, b json.RawMessage) (p patch, same bool) {
	switch {
	case bytes.Equal(a, b):
		return patch{}, true
	case bytes.HasPrefix(a, []byte("{")) && bytes.HasPrefix(b, []byte("{")):
		var old, now map[string]json.RawMessage
		if json.Unmarshal(a, &old) == nil && json.Unmarshal(b, &now) == nil {
			return differenceOfFields(old, now), false
		}
	case bytes.HasPrefix(a, []byte("[")) && bytes.HasPrefix(b, []byte("[")):
		var old, now []json.RawMessage
		if json.Unmarshal(a, &old) == nil && json.Unmarshal(b, &now) == nil && len(now) > 0 {
			return differenceOfItems(old, now), false
		}
	}
	return patch{Value: b}, false
}

func differenceOfFields(old, now map[string]json.RawMessage) (p patch) {
	p.Fields = map[string]patch{}
	for name, value := range now {
		was, ok := old[name]
		if !ok {
			p.Fields[name] = patch{Value: value}
		} else if change, same := difference(was, value); !same {
			p.Fields[name] = change
		}
	}
	for name := range old {
		if _, ok := now[name]; !ok {
			p.Gone = append(p.Gone, name)
		}
	}
	return p
}

// differenceOfItems uses each part of the old list once at most: so what changes make of
// a value is never longer than what the file said of it altogether.
func differenceOfItems(old, now []json.RawMessage) (p patch) {
	equal, alike, used := map[string][]int{}, map[string]int{}, make([]bool, len(old))
	for i, item := range old {
		equal[string(item)] = append(equal[string(item)], i)
		if id := identityOf(item); id != "" {
			alike[id] = i
		}
	}
	stays := make([]int, len(now))
	for i, item := range now {
		stays[i] = -1
		if at := equal[string(item)]; len(at) > 0 {
			stays[i], equal[string(item)], used[at[0]] = at[0], at[1:], true
		}
	}
	for i, item := range now {
		at := stays[i]
		if n := len(p.Items); at >= 0 {
			if n > 0 && p.Items[n-1].Stay > 0 && p.Items[n-1].At+p.Items[n-1].Stay == at {
				p.Items[n-1].Stay++
			} else {
				p.Items = append(p.Items, patchItem{At: at, Stay: 1})
			}
			continue
		}
		if at, ok := alike[identityOf(item)]; ok && !used[at] {
			used[at] = true
			change, _ := difference(old[at], item)
			p.Items = append(p.Items, patchItem{At: at, Change: &change})
			continue
		}
		p.Items = append(p.Items, patchItem{New: item})
	}
	return p
}

// identityOf is what names a part of a list; empty where nothing does.
func identityOf(item json.RawMessage) string {
	var named struct{ ID, Key, Name, Family json.RawMessage }
	if !bytes.HasPrefix(item, []byte("{")) || json.Unmarshal(item, &named) != nil {
		return ""
	}
	switch {
	case named.ID != nil:
		return "ID " + string(named.ID)
	case named.Key != nil:
		return "Key " + string(named.Key)
	case named.Name != nil:
		return "Name " + string(named.Name) + " " + string(named.Family)
	}
	return ""
}

// apply makes the new value of the old one.
func (p *patch) apply(old json.RawMessage) (json.RawMessage, error) {
	switch {
	case p.Value != nil:
		return p.Value, nil
	case p.Items != nil:
		return p.applyToList(old)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(old, &fields); err != nil || fields == nil {
		return nil, errPatch
	}
	for name, change := range p.Fields {
		value, err := change.apply(fields[name])
		if err != nil {
			return nil, err
		}
		fields[name] = value
	}
	for _, name := range p.Gone {
		delete(fields, name)
	}
	return json.Marshal(fields)
}

func (p *patch) applyToList(old json.RawMessage) (json.RawMessage, error) {
	var items, made []json.RawMessage
	if err := json.Unmarshal(old, &items); err != nil {
		return nil, errPatch
	}
	for i := range p.Items {
		part := &p.Items[i]
		if part.New != nil {
			made = append(made, part.New)
			continue
		}
		n := max(part.Stay, 1)
		if part.At < 0 || n > len(items) || part.At > len(items)-n {
			return nil, errPatch
		}
		for at := part.At; at < part.At+n; at++ {
			item := items[at]
			if item == nil {
				return nil, errPatch // used already
			}
			if items[at] = nil; part.Change != nil {
				var err error
				if item, err = part.Change.apply(item); err != nil {
					return nil, err
				}
			}
			made = append(made, item)
		}
	}
	return json.Marshal(made)
}
