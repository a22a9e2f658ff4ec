// Text in a page of HTML.
//
// Invariant: what comes out is text wherever it stands, between tags and in a quoted attribute.
// Must not know: pages.

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);
}
