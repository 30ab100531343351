// Package arrows holds, in its tests, which package may import which, and where
// system calls may stand. docs/architecture.md draws the same arrows.
package arrows
