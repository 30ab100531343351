package docker

// Compose returns the project and the service that Docker Compose made the container
// for; empty for a container of another origin
// (https://docs.docker.com/reference/compose-file/, labels under com.docker.compose).
func (c *Container) Compose() (project, service string) {
	return c.Labels["com.docker.compose.project"], c.Labels["com.docker.compose.service"]
}

// IsService reports whether the word names the container's service of Docker Compose:
// SERVICE or PROJECT/SERVICE.
func (c *Container) IsService(word string) bool {
	project, service := c.Compose()
	return service != "" && (word == service || word == project+"/"+service)
}
