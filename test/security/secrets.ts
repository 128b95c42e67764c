/** Finds secrets in what was printed, in whatever form they got there. */

/** By what they are. */
export type Secrets = Readonly<Record<string, string>>;

/** One sentence for each secret that is in the text. */
export function findSecrets(text: string, secrets: Secrets): string[] {
  return Object.entries(secrets).flatMap(([what, secret]) =>
    Object.entries(formsOf(secret))
      .filter(([, form]) => text.includes(form))
      .map(([how, form]) => {
        const at = text.indexOf(form);
        return `${what} (${how}): …${text.slice(Math.max(0, at - 200), at + form.length)}`;
      }),
  );
}

/** How a secret may look. */
function formsOf(secret: string): Record<string, string> {
  const forms: Record<string, string> = {
    plain: secret,
    'in a URL': encodeURIComponent(secret),
    'in JSON': JSON.stringify(secret).slice(1, -1),
    'in hexadecimal': Buffer.from(secret).toString('hex'),
    'as numbers': [...Buffer.from(secret)].join(','),
  };
  for (const [offset, before] of ['', 'x', 'xx'].entries()) {
    // Within something longer, as the password of `user:password`: what is sure to be in it.
    const base64 = Buffer.from(before + secret).toString('base64');
    forms[`in base64, at ${offset}`] = base64.slice(4, -4);
  }
  return forms;
}
