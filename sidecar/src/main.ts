// The sidecar starts here.
export {};
