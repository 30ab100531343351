package text

import (
	"strings"
	"time"

	"natlens/netinfo"
)

// Change shows on one line what came, went or changed on the host.
func (st Style) Change(d Detail, c *netinfo.Change, at time.Time) string {
	where := st.Escape(c.Kind)
	if c.Name != "" {
		where += " " + st.Paint(Name, st.name(c.Name, maxName))
	}
	if c.NamespaceName != "" && c.NamespaceName != c.Name && c.NamespaceName != hostName {
		where += " in " + st.name(c.NamespaceName, maxName)
	}
	if !d.NoTime {
		where = st.Clock(at.UnixNano()) + " " + where
	}
	pieces := []piece{{gap: 1, text: st.Escape(c.Action)}}
	if c.Detail != "" {
		pieces[0].text += ":"
		pieces = append(pieces, piece{gap: 1, text: st.Escape(c.Detail), words: true})
	}
	return strings.Join(st.lay(where, hang, pieces), "\n") + "\n"
}
