/** The icon of the page. */
export const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#4a5bd4"/><path d="M10.500 14v-3a5.500 5.500 0 0 1 11 0v3" fill="none" stroke="#fff" stroke-width="2.600" stroke-linecap="round"/><rect x="7.500" y="14" width="17" height="11.500" rx="3" fill="#fff"/></svg>
`;
