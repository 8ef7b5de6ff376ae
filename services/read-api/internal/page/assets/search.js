// The search field's suggestions, as a combobox (ARIA Authoring Practices): the
// focus stays in the field, arrows choose, Enter takes, Escape closes. Without
// this the field is a plain form.
//
//   suggestInto(field, list, take)   take(address) shows what was chosen
'use strict';

function suggestInto(field, list, take) {
  const pause = 120; // milliseconds without a key before it is asked
  const words = { order: 'Order', track_number: 'Track number', customer: 'Customer' };
  let timer = 0;
  let asking = null; // the AbortController of the request under way
  let active = -1;
  let closed = true; // since Escape, until the next key

  field.setAttribute('role', 'combobox');
  field.setAttribute('aria-autocomplete', 'list');
  field.setAttribute('aria-controls', list.id);
  field.setAttribute('aria-expanded', 'false');

  async function ask() {
    const text = field.value.trim();
    asking?.abort();
    if (!text) {
      close();
      return;
    }
    const mine = (asking = new AbortController());
    try {
      const response = await fetch(look.base + 'api/v1/suggest?q=' + encodeURIComponent(text), { signal: mine.signal });
      const suggestions = response.ok ? (await response.json()).suggestions : [];
      if (asking !== mine || closed || document.activeElement !== field) return;
      show(suggestions, text);
    } catch {
      if (asking === mine) close(); // it is only a help; the search itself says what is wrong
    }
  }

  function show(suggestions, text) {
    active = -1;
    list.replaceChildren(...suggestions.map((suggestion, i) => option(suggestion, i, text)));
    list.hidden = suggestions.length === 0;
    field.setAttribute('aria-expanded', String(!list.hidden));
    field.removeAttribute('aria-activedescendant');
    look.announce(suggestions.length === 0 ? '' : suggestions.length === 1 ? '1 suggestion.' : suggestions.length + ' suggestions.');
  }

  // option is built of text only: what an order holds is never HTML.
  function option({ kind, value, orders }, i, text) {
    const item = document.createElement('li');
    item.id = 'suggestion-' + i;
    item.setAttribute('role', 'option');
    item.setAttribute('aria-selected', 'false');
    item.dataset.address = look.base + (kind === 'order'
      ? '?uid=' + encodeURIComponent(value)
      : '?q=' + encodeURIComponent(value) + '&by=' + encodeURIComponent(kind));
    const name = document.createElement('span');
    name.className = 'code';
    name.dir = 'auto';
    if (value.startsWith(text)) {
      const typed = document.createElement('b');
      typed.textContent = text;
      name.append(typed, value.slice(text.length));
    } else {
      name.textContent = value;
    }
    const what = document.createElement('span');
    what.className = 'kind';
    what.textContent = (words[kind] ?? kind) + (orders > 1 ? ' · ' + (orders >= 100 ? 'over ' + (orders - 1) : orders) + ' orders' : '');
    item.append(name, ' ', what);
    return item;
  }

  function close() {
    clearTimeout(timer);
    asking?.abort();
    asking = null;
    active = -1;
    list.hidden = true;
    list.replaceChildren();
    field.setAttribute('aria-expanded', 'false');
    field.removeAttribute('aria-activedescendant');
  }

  function move(step) {
    clearTimeout(timer); // what comes later would take the choice away
    asking?.abort();
    asking = null;
    const options = list.children;
    options[active]?.setAttribute('aria-selected', 'false');
    // Beside the suggestions there is the field itself, with what was typed.
    active = (active + 1 + step + options.length + 1) % (options.length + 1) - 1;
    const chosen = options[active];
    if (chosen) {
      chosen.setAttribute('aria-selected', 'true');
      chosen.scrollIntoView({ block: 'nearest' });
      field.setAttribute('aria-activedescendant', chosen.id);
    } else {
      field.removeAttribute('aria-activedescendant');
    }
  }

  function choose(item) {
    const { address } = item.dataset;
    closed = true;
    close();
    take(address);
  }

  field.addEventListener('input', () => {
    closed = false;
    clearTimeout(timer);
    timer = setTimeout(ask, pause);
  });
  field.addEventListener('keydown', (event) => {
    if (event.isComposing) return;
    const open = !list.hidden;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      if (open) {
        move(event.key === 'ArrowDown' ? 1 : -1);
      } else {
        closed = false;
        ask();
      }
    } else if (event.key === 'Escape') {
      event.preventDefault();
      if (open) {
        closed = true;
        close();
      } else {
        field.value = '';
      }
    } else if (event.key === 'Enter') {
      closed = true;
      if (open && active >= 0) {
        event.preventDefault();
        choose(list.children[active]);
      } else {
        close();
      }
    }
  });
  field.addEventListener('blur', close);
  list.addEventListener('mousedown', (event) => event.preventDefault()); // the field keeps the focus
  list.addEventListener('click', (event) => {
    const item = event.target.closest('[role=option]');
    if (item) choose(item);
  });
  return close;
}
