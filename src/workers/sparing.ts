/**
 * The same, at most once in so many milliseconds: at once where it was not asked for lately, else when that time has passed,
 * once for all who have asked meanwhile. Nothing is waited for when the process ends.
 */
export function sparingly(ms: number, run: () => void): () => void {
  let resting = false;
  let asked = false;
  const go = (): void => {
    resting = true;
    asked = false;
    setTimeout(() => {
      resting = false;
      if (asked) go();
    }, ms).unref();
    run();
  };
  return () => {
    if (resting) asked = true;
    else go();
  };
}
