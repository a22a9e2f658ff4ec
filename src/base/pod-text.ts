// Text for the arguments and variables of a container in Kubernetes, where $(NAME) is a variable
// and $$ a $.
//
// Invariant: the container gets the very text that was given, whatever variables there are; text
// that needs nothing is left as it is. Must not know: what the text is for.

export function podText(text: string): string {
  return text.replace(/\$(?=[$(])/g, '$$$$');
}
