// Package podman knows what Podman runs when nobody can be asked: its service
// runs only where somebody started it, its containers run without. A conmon
// process stands beside each container and bears its name; the rest is in files.
// It only reads, and starts nothing: podman ps would take locks and write.
package podman
