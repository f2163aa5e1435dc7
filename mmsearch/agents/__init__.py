"""A gallery for agents: tools of the Model Context Protocol, over stdin and stdout or over HTTP.

    tools        what can be asked, as agents are told it
    gallery_tools  how it is answered: functions from arguments to answers, which know no protocol
    arguments    what they take               conditions  typed filters
    messages     what they answer, and which of its text strangers wrote
    pictures     JPEGs and contact sheets of bounded size
    protocol     the tools as a server of the protocol: the official SDK, and nothing of it anywhere else
    stdio, http  the two ways to it

It does not know `mmsearch.serve`, its sibling: whoever starts both gives the one's door to the other.
"""
