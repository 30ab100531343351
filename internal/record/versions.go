package record

import (
	"encoding/json"
	"maps"

	"natlens/capture/pcapng"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// versions are what a file says of the host and of each namespace's rules by now, so
// that it has to say what changes only.
type versions map[versionKey]json.RawMessage

type versionKey struct {
	kind      uint32
	namespace netns.ID // of a ruleset
}

// changed says that what an earlier block of a kind told is otherwise now.
type changed struct {
	Kind      uint32
	Namespace netns.ID `json:",omitempty"`
	Change    patch
}

// write writes a value, or how it differs from the one before where that is shorter.
func (v versions) write(key versionKey, value json.RawMessage, repeated bool, local func(kind uint32, value any)) {
	old, known := v[key]
	v[key] = value
	if known && !repeated {
		change, _ := difference(old, value)
		b, err := json.Marshal(&change)
		if err == nil && len(b) < len(value)/2 {
			local(kindChanged, changed{Kind: key.kind, Namespace: key.namespace, Change: change})
			return
		}
	}
	local(key.kind, again[json.RawMessage]{Again: repeated, Value: value})
}

// forget drops the rules of a namespace where a file says that its ring ended, as who
// reads the file does: what comes of them later is written whole.
func (v versions) forget(ns netns.ID) { delete(v, versionKey{kindRuleset, ns}) }

// keep drops the rules that are not among those that are known. Who reads the file may
// keep them: what comes of them later is written whole.
func (v versions) keep(known map[netns.ID]*netfilter.Ruleset) {
	maps.DeleteFunc(v, func(key versionKey, _ json.RawMessage) bool {
		return key.kind == kindRuleset && known[key.namespace] == nil
	})
}

// read returns a block of a file in some format as it would be had it been written whole.
// Other kinds stay as they are.
func (v versions) read(l *pcapng.Local, format int) (*pcapng.Local, error) {
	switch l.Kind {
	case kindTopology, kindRuleset:
		told, err := decode[again[json.RawMessage]](l)
		if err != nil {
			return nil, err
		}
		key := versionKey{kind: l.Kind}
		if l.Kind == kindRuleset {
			of, err := decode[again[struct{ Namespace netns.ID }]](l)
			if err != nil {
				return nil, err
			}
			key.namespace = of.Value.Namespace
		}
		v[key] = told.Value
	case kindRing:
		told, err := decode[again[ring]](l)
		if err != nil {
			return nil, err
		}
		if told.Value.Until != 0 && format > 1 { // before there was a second, changes went on from there
			v.forget(told.Value.Namespace)
		}
	case kindChanged:
		told, err := decode[changed](l)
		if err != nil {
			return nil, err
		}
		key := versionKey{told.Kind, told.Namespace}
		value, err := told.Change.apply(v[key])
		if err != nil {
			return nil, err
		}
		v[key] = value
		data, err := json.Marshal(again[json.RawMessage]{Value: value})
		return &pcapng.Local{Kind: told.Kind, Data: data}, err
	}
	return l, nil
}
