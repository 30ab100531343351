package docker

import "testing"

func TestCompose(t *testing.T) {
	c := Container{Name: "shop-web-1", Labels: map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}}
	for word, want := range map[string]bool{"web": true, "shop/web": true, "shop": false, "shop/": false, "shop-web-1": false, "": false} {
		if got := c.IsService(word); got != want {
			t.Errorf("%q: %v", word, got)
		}
	}
	var plain Container
	if project, service := plain.Compose(); project+service != "" || plain.IsService("") || plain.IsService("/") {
		t.Error("a container of no project is of a service")
	}
}
