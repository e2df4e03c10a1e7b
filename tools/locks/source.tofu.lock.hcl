# Written by tools/lock.mjs. Hashes of providers built from tools/go by go1.26.8.

provider "registry.opentofu.org/bpg/proxmox" {
  version     = "0.111.1"
  constraints = "0.111.1"
  hashes = [
    "h1:QaK2n0JAjs8QTQqXVRDOl6Gyacv/wyMF+VOCflQ8xPE=",
    "h1:lXw9UObL+QJ3VGsyOKEhCGqTKKG27oNhih7VGwJJI+k=",
  ]
}

provider "registry.opentofu.org/hashicorp/local" {
  version     = "1.4.0"
  constraints = ">= 1.4.0, < 3.0.0"
  hashes = [
    "h1:FQAuvC1SZO6qcGTKIFKcNG1L+dr/ffEL1Rif2m8kLhk=",
    "h1:nVF9S30+/2g+4tfkrUr5Uld4g1yxPS4pr/u1V2rPwbc=",
  ]
}

provider "registry.opentofu.org/hashicorp/tls" {
  version     = "4.0.4"
  constraints = ">= 4.0.4, < 5.0.0"
  hashes = [
    "h1:xWT+F3pPRfwbo4gi1WdDRMs+Pjt3FnBtmiZkwHtk88o=",
    "h1:xuWWlvtozaautvpw6JRsR9MXvBqURPAot6SQIpqtNIk=",
  ]
}
