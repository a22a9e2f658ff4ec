// What the kubelet makes of the arguments of a container: variables in place of $(NAME), and a $ of
// $$ (k8s.io/kubernetes, third_party/forked/golang/expansion).
//
// Invariant: variables that there are not stay as they are written. Must not know: whose arguments
// they are.

export function expandInPod(text: string, variables: Readonly<Record<string, string>>): string {
  return text.replace(/\$(?:\$|\(([^)]*)\))/gu, (whole, name: string | undefined) =>
    name === undefined ? '$' : (variables[name] ?? whole),
  );
}
