// Writes the SDKs of a package, as `pulumi package gen-sdk` does where it has the current language hosts.
// usage: sdkgen SCHEMA FOLDER
package main

import (
	"encoding/json"
	"log"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi/pkg/v3/codegen/nodejs"
	"github.com/pulumi/pulumi/pkg/v3/codegen/python"
	"github.com/pulumi/pulumi/pkg/v3/codegen/schema"
)

func main() {
	log.SetFlags(0)
	text, err := os.ReadFile(os.Args[1])
	check(err)
	var spec schema.PackageSpec
	check(json.Unmarshal(text, &spec))
	write("nodejs", bound(spec), func(its *schema.Package) (map[string][]byte, error) {
		return nodejs.GeneratePackage("sdkgen", its, nil, nil, true, nil)
	})
	write("python", bound(spec), func(its *schema.Package) (map[string][]byte, error) {
		return python.GeneratePackage("sdkgen", its, nil, nil)
	})
}

func bound(spec schema.PackageSpec) *schema.Package {
	languages := map[string]schema.Language{"nodejs": nodejs.Importer, "python": python.Importer}
	its, err := schema.ImportSpec(spec, languages, schema.NewNullLoader(), schema.ValidationOptions{})
	check(err)
	return its
}

func write(language string, its *schema.Package, generate func(*schema.Package) (map[string][]byte, error)) {
	files, err := generate(its)
	check(err)
	for name, content := range files {
		path := filepath.Join(os.Args[2], language, name)
		check(os.MkdirAll(filepath.Dir(path), 0o755))
		check(os.WriteFile(path, content, 0o644))
	}
}

func check(err error) {
	if err != nil {
		log.Fatal("sdkgen: ", err)
	}
}
