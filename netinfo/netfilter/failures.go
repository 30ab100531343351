package netfilter

// Failures is what connection tracking of one namespace failed at between two
// readings of its statistics (conntrack -S; IPCTNL_MSG_CT_GET_STATS_CPU, Linux 3.6).
// It is told only when something of it has moved.
type Failures struct {
	// Since and Until are when it was read, in nanoseconds since the Unix epoch.
	// What failed in between is in it, and perhaps a little on either side.
	Since, Until int64
	// Dropped counts packets that were dropped because there was no entry for them:
	// none could be made, as when the table is full, or it could not be inserted.
	Dropped uint64
	// InsertFailed counts entries that could not be inserted when their first packet
	// had passed all rules, because another flow had the same tuple meanwhile. Its
	// packet is among the Dropped.
	InsertFailed uint64
	// Resolved counts such packets that were let go on with the other's entry.
	Resolved uint64
	// EarlyDropped counts entries of others that were thrown out of a full table to
	// make room.
	EarlyDropped uint64
	// Entries and MaxEntries are how full the table was at Until; 0: not known.
	Entries, MaxEntries uint32
}

// Full reports whether the table was full, as far as the reading can tell.
func (f *Failures) Full() bool { return f.EarlyDropped > 0 || f.FullNow() }

// FullNow reports whether it was still so at Until.
func (f *Failures) FullNow() bool {
	return f.MaxEntries > 0 && uint64(f.Entries)*100 >= uint64(f.MaxEntries)*nearlyFull
}

// nearlyFull is from what percentage on a table counts as full: it is asked for its
// size a little later than it was.
const nearlyFull = 95

// Statistics of each processor (enum ctattr_stats_cpu in nfnetlink_conntrack.h).
const (
	ctaStatsInsertFailed = 9
	ctaStatsDrop         = 10
	ctaStatsEarlyDrop    = 11
	ctaStatsClashResolve = 14
)

// statistics are the sums over all processors since the namespace began. They are
// 32 bits wide there, so that each wraps by itself.
type statistics struct{ insertFailed, dropped, earlyDropped, resolved uint32 }

// add takes in the message of one processor; false when it is malformed.
func (s *statistics) add(a attributes) bool {
	for {
		kind, value, more := a.next()
		if !more {
			return a.spent()
		}
		var into *uint32
		switch kind {
		case ctaStatsInsertFailed:
			into = &s.insertFailed
		case ctaStatsDrop:
			into = &s.dropped
		case ctaStatsEarlyDrop:
			into = &s.earlyDropped
		case ctaStatsClashResolve:
			into = &s.resolved
		default:
			continue
		}
		n, ok := be32(value)
		if !ok {
			return false
		}
		*into += n
	}
}

// since returns how far they have moved; false when they have not.
func (s statistics) since(before statistics) (f Failures, moved bool) {
	f = Failures{
		Dropped: uint64(s.dropped - before.dropped), InsertFailed: uint64(s.insertFailed - before.insertFailed),
		Resolved: uint64(s.resolved - before.resolved), EarlyDropped: uint64(s.earlyDropped - before.earlyDropped),
	}
	return f, s != before
}
