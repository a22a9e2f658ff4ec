// A certificate of its own authority for localhost and 127.0.0.1, made for the tests alone:
// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500
// -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1`.

export const CERT = `-----BEGIN CERTIFICATE-----
MIIBmjCCAUGgAwIBAgIUDueiThJLV1s2ypCOaRe5K8ETSkswCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzE4MzQzM1oYDzIxMjYxMDMw
MTgzNDMzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASe5aLXfPedjaRJCutqyOzdQ9n3Gjb+A4eQc9TG/wlJLVw6aUPxfuBW
GY93S/rcsSwnzmTP8MhvQ63ki5E3e8c/o28wbTAdBgNVHQ4EFgQUyEK4/Py8MduI
bjfJjBsGcKgGHB0wHwYDVR0jBBgwFoAUyEK4/Py8MduIbjfJjBsGcKgGHB0wDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDRwAwRAIgRADHqwWgk+nYbgVk4Dnw7gO9QnOmuBYzYJ2v0auCFbsCIB6G
AgqzWvmOZeL5uJahkVh11wa8YdKbRMl5k2n8wjC/
-----END CERTIFICATE-----
`;

export const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgbAuW9ZtO+qp9umU8
53sg41htI7UOdCzuLJb+zsL9I1ShRANCAASe5aLXfPedjaRJCutqyOzdQ9n3Gjb+
A4eQc9TG/wlJLVw6aUPxfuBWGY93S/rcsSwnzmTP8MhvQ63ki5E3e8c/
-----END PRIVATE KEY-----
`;

/** A key that belongs to no certificate here. */
export const OTHER_KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBePDx2mva4WX3FhO
tvrWpQ+4VYmwrTK1Nli5DiNEEzWhRANCAAREUDIO9n+r+UNOwJ78+CPX5UuX3y6/
kiAjDnDfs1JHPKSFG1UPqBYHuuEEc4wjf/0bX6D8ZSKbNG0d7W6sVJzU
-----END PRIVATE KEY-----
`;
