// Package ext stands where Traefik's package of this name would. Traefik's own go.mod replaces that module by a folder,
// and the Go module proxy does not have it. Traefik embeds the two types; they are empty there too.
package ext

// HTTP extends the configuration of HTTP.
type HTTP struct{}

// Router extends the configuration of a router.
type Router struct{}
