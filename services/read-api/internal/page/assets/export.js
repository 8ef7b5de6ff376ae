// Downloads of a list with progress: how many orders and bytes have arrived. Without this
// script the links download by themselves.
'use strict';

(() => {
  const every = 250; // milliseconds
  const box = document.getElementById('export');
  const words = box.querySelector('span');
  const button = box.querySelector('button');
  let running = null; // the AbortController of the download

  function say(text, under) {
    words.textContent = text;
    button.textContent = under ? 'Cancel' : 'Close';
    box.hidden = false;
    if (!under) look.announce(text);
  }

  async function save(link) {
    running?.abort();
    const mine = (running = new AbortController());
    const csv = link.search.includes('format=csv');
    let orders = csv ? -1 : 0; // a head is no order
    let bytes = 0;
    let quoted = false; // within a cell of CSV, which may have several lines
    let file = new Blob();
    let said = -every;
    const arrived = () => Math.max(orders, 0).toLocaleString('en') + (orders === 1 ? ' order, ' : ' orders, ') + (bytes / 1e6).toFixed(1) + ' MB';
    say('Waiting for the first orders.', true);
    try {
      const response = await fetch(link.href, { cache: 'no-store', signal: mine.signal });
      if (!response.ok) throw new Error((await response.json()).detail);
      for (const reader = response.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        bytes += value.length;
        for (const byte of value) {
          if (byte === 34) quoted = !quoted;
          else if (byte === 10 && !(csv && quoted)) orders++;
        }
        file = new Blob([file, value]); // which the browser may keep on a disk
        if (performance.now() - said > every) {
          said = performance.now();
          say(arrived() + ' so far.', true);
        }
      }
      const made = document.createElement('a');
      made.href = URL.createObjectURL(file);
      made.download = csv ? 'orders.csv' : 'orders.ndjson';
      made.click();
      setTimeout(() => URL.revokeObjectURL(made.href), 60000);
      say(arrived() + ': all have arrived.', false);
    } catch (error) {
      if (running !== mine) return; // another has begun, or it was cancelled
      say(bytes ? 'The download broke off after ' + arrived() + '. Nothing was saved.' : 'The download failed. ' + error.message, false);
    }
    running = null;
  }

  document.addEventListener('click', (event) => {
    if (event.target === button) {
      const stopped = running;
      running = null;
      stopped?.abort();
      box.hidden = true;
    }
    const link = event.target.closest('a[data-export]');
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    save(link);
  });
})();
