// What Orderhub's pages have in common, as window.look:
//
//   look.dress(root)      makes HTML from the server ready for this browser: shows
//                         what needs JavaScript (data-script), puts <time> into the
//                         browser's zone, shows buttons that copy. Call it for each
//                         piece that is put into the page later; the document itself
//                         is dressed at the start.
//   look.announce(text)   tells screen readers, through #announcement
//   look.ago(date)        how long ago, in words
//   look.copy(button, text)  copies, and says so on the button
//   look.base             the path of the site's first page, "/" or as "/orders/"
//   look.keys({j: fn, …}) single keys. They rest while something is typed, and where
//                         the switch in the dialog .keys turned them off; "?" opens
//                         that dialog where the page has one.
//
// A <button data-copy="text"> copies by itself.
'use strict';

window.look = (() => {
  const base = new URL('../', document.currentScript.src).pathname; // the script is at assets/ below it

  // The words are English like the pages, the zone is the browser's.
  const shortly = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
  const exactly = new Intl.DateTimeFormat('en-GB', { dateStyle: 'full', timeStyle: 'long' });
  const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
  const units = [['year', 31557600], ['month', 2629800], ['week', 604800], ['day', 86400], ['hour', 3600], ['minute', 60]];

  // ago says how long ago, or how far ahead, a moment is.
  function ago(moment) {
    const seconds = (moment - Date.now()) / 1000;
    for (const [unit, size] of units) {
      if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
    }
    return Math.abs(seconds) < 10 ? 'just now' : relative.format(Math.trunc(seconds), 'second');
  }

  // age renews the relative times.
  function age(root) {
    for (const element of root.querySelectorAll('time[data-time=relative], [data-ago]')) {
      const moment = new Date(element.dateTime || element.dataset.ago);
      if (isNaN(moment)) continue;
      const text = ago(moment);
      if (element.textContent !== text) element.textContent = text;
      element.hidden = false;
    }
  }

  function dress(root) {
    for (const element of root.querySelectorAll('[data-script]')) element.hidden = false;
    if (navigator.clipboard) {
      for (const button of root.querySelectorAll('[data-copy]')) button.hidden = false;
    }
    for (const time of root.querySelectorAll('time')) {
      const moment = new Date(time.dateTime);
      if (isNaN(moment)) continue;
      time.title = exactly.format(moment) + '\n' + time.title;
      if (time.dataset.time === 'exact') time.textContent = shortly.format(moment);
    }
    age(root);
  }

  function announce(text) {
    const place = document.getElementById('announcement');
    if (place) place.textContent = text;
  }

  async function copy(button, text) {
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'Copied';
      button.classList.add('done');
      announce('Copied.');
    } catch {
      button.textContent = 'Not allowed';
      announce('The browser doesn’t allow copying.');
    }
    button.disabled = true;
    setTimeout(() => {
      button.textContent = label;
      button.classList.remove('done');
      button.disabled = false;
    }, 1500);
  }

  // Whether single keys do something; people who speak to their computer, or
  // press keys by mistake, turn them off.
  const remembered = 'orderhub.keys';
  function keysAreOn() {
    try { return localStorage.getItem(remembered) !== 'off'; } catch { return true; }
  }

  function keys(bindings) {
    const help = document.querySelector('dialog.keys');
    const all = help ? { '?': () => help.showModal(), ...bindings } : bindings;
    const button = help?.querySelector('input[type=checkbox]');
    if (button) {
      button.checked = keysAreOn();
      button.addEventListener('change', () => {
        try { localStorage.setItem(remembered, button.checked ? 'on' : 'off'); } catch { /* for this window only */ }
      });
    }
    document.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
      if (event.target.matches?.('input, textarea, select, [contenteditable]') || document.querySelector('dialog[open]')) return;
      const act = all[event.key];
      if (!act || !(button ? button.checked : keysAreOn())) return;
      event.preventDefault();
      act();
    });
  }

  document.addEventListener('click', (event) => {
    const button = event.target.closest('button[data-copy]');
    if (button) copy(button, button.dataset.copy);
    const opener = event.target.closest('[data-open-keys]');
    if (opener) document.querySelector('dialog.keys')?.showModal();
  });
  document.addEventListener('visibilitychange', () => { if (!document.hidden) age(document); });
  setInterval(() => { if (!document.hidden) age(document); }, 15000);
  dress(document);

  return { base, dress, announce, ago, copy, keys };
})();
