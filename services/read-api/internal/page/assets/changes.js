// What tells the page that orders have changed: the API's stream of changes.
//
//   const stop = followChanges(address, { changed(data, reset), state(isOpen) })
//
// changed is called for each event: with its data, or with reset where what
// changed can't be told one by one. state is called when the stream opens, and
// when it breaks. Whoever listens asks for what it shows when the stream opens:
// so nothing is missed, whatever happened while it was closed.
'use strict';

function followChanges(address, listener) {
  const shortest = 1000; // milliseconds until the next try; doubles, up to:
  const longest = 30000;
  let source = null;
  let timer = 0;
  let failures = 0;

  function open() {
    source = new EventSource(address);
    source.onopen = () => {
      failures = 0;
      listener.state(true);
    };
    source.onerror = () => {
      listener.state(false);
      // A broken connection is taken up again by the browser itself, which tells
      // the last event's id. What was refused (too many streams, a proxy's error)
      // it gives up.
      if (source.readyState !== EventSource.CLOSED) return;
      const wait = Math.min(shortest * 2 ** failures++, longest);
      timer = setTimeout(open, wait * (0.75 + Math.random() / 2));
    };
    source.addEventListener('upsert', (event) => listener.changed(event.data, false));
    source.addEventListener('delete', (event) => listener.changed(event.data, false));
    source.addEventListener('left', (event) => listener.changed(event.data, false));
    source.addEventListener('reset', () => listener.changed('', true));
  }

  open();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
